"""Diagnoses problems with certificates, keys and brokers that prevent a client from connecting."""
