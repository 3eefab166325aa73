"""Delivery of queued messages: leased rows, the inbox, webhooks."""
