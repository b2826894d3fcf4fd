"""The gradients' wing: torch; never rasterio."""
