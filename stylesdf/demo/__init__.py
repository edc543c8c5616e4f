"""Parts of the demo page that ``app.py`` arranges."""
