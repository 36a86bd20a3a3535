"""The fleet's other end: enrolment, records, cases, labels, signed releases."""
