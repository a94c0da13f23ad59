"""The station's keys and what it trusts since its enrolment."""
