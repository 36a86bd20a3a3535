"""Where photos come from: dataset format, loader, leak-proof split, generator."""
