"""What the environment says: addresses, credentials, TLS files, each secret wrapped. The only readers of the
environment.

A settings object says how to reach something. It must not know what it is asked, and imports no client library.
"""
