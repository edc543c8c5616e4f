"""Training of StyleSDF: data, losses, stages and the loop around them."""
