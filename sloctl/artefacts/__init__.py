"""What is generated, as files: YAML texts, objects' metadata, and a folder of which only our own files are touched.

What a rule, a dashboard or a CronJob says is made elsewhere; this package only writes it, whole and deterministic. It
must not know PromQL, Grafana or any server.
"""
