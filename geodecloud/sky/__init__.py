"""Synthetic skies on arrays of numpy or torch alike."""
