"""Small tools that several layers share: limits, caches, backoff, errors."""
