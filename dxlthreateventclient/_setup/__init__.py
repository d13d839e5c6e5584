"""Finds out why a client cannot be set up or connected: its certificates, its key, or a broker."""
