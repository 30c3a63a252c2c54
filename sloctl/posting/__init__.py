"""Reports on their way to people: the protocol of the outbox and of those who deliver, and Slack.

Where the outbox is kept is the ledger's matter; what a report says is the report's.
"""
