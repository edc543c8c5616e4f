"""The parts of the page, one module each; ``build`` arranges one and wires it up."""
