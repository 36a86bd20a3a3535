"""Measures the product from outside, and plays its whole story."""
