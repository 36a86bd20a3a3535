"""Pages for people: the list of cases, one case, the stations, sign-in, and the API's documentation."""
