"""AGREED: requests that people answer."""
