"""The demo page: ``start`` serves it, ``layout`` arranges its parts."""
