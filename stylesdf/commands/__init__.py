"""What ``python -m stylesdf`` does: a module for each command, with its options and what it does with them."""
