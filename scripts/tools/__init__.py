"""Commands of the project itself: they make its bundled model and its measurements, and check its image."""
