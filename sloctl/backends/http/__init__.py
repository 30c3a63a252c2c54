"""HTTP as sloctl's adapters need it: deadlines, retries, bounds and typed errors, once for all backends.

It must not know what is asked, nor what an answer means: each adapter brings a judge of its own.
"""
