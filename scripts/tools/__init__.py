"""Commands for the project itself: they make the bundled model, make its measurements, and check its image."""
