"""The HTTP API: parse the request, call one service, write the response. Business rules are in `app.runs` and below."""
