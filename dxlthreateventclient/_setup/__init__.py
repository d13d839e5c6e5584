"""Why a client cannot be set up or connected: its certificates and key, and each broker."""
