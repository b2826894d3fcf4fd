"""The Earth's wing: numpy, rasterio, odc-geo and shapely; never torch."""
