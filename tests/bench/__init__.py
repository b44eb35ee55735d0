"""`./dev bench`: measures speed and memory beside other servers, in alternating rounds of one run."""
