"""Who we are: asked, and served for development."""
