"""What every service's HTTP side shares: problems, request ids, limits, health, the OpenAPI page."""
