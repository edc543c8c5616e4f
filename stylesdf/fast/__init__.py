"""What the modules of the paper compute, sooner: for inference on one head at a time."""
