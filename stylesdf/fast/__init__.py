"""What the modules of the paper compute, sooner: inference on one head at a time, and convolutions of training."""
