"""Ledgers out of and into a database: JSON Lines, CSV and Parquet; the same bytes for the same ledger.

What a bucket is, and which of two truths stays, is decided in the ledger itself.
"""
