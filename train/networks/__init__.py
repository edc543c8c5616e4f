"""Networks of the kit that are no part of the model: discriminators, encoder, reader of poses."""
