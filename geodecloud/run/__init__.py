"""Trained models at work, without torch."""
