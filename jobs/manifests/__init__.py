"""What runs the jobs on their schedules: Kubernetes objects, or a crontab.

It must not know what a job does, nor load what a job needs.
"""

from jobs.manifests.generate import generate

__all__ = ["generate"]
