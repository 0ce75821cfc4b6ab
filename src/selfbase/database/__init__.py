"""PostgreSQL for every service: the cluster, its bootstrap, and the one door to rows."""
