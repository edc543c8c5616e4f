"""Data sources for training: toy heads drawn by the project itself, folders of images, hub data sets."""
