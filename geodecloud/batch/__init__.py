"""Many scenes: STAC items in, STAC items out."""

from geodecloud.batch.engines import Workers
from geodecloud.batch.jobs import Job, JobResult, run_job
from geodecloud.batch.query import Query
from geodecloud.batch.running import BatchOptions, Report, plan, run

__all__ = [
    "BatchOptions", "Job", "JobResult", "Query", "Report", "Workers", "plan", "run", "run_job",
]  # fmt: skip
