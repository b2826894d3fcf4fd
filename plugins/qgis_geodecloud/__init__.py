"""Geodecloud: clouds out of satellite images, in the Processing toolbox."""


def classFactory(iface):
    """Return the plugin; QGIS calls this function when the plugin is switched on."""
    from .plugin import Plugin

    return Plugin(iface)
