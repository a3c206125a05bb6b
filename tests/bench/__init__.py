"""The benchmark: `make bench`. README.md here has the table, and says how to read it.

`figures`     numbers of several runs, and the table they make
`machine`     CPU time and memory of processes, from /proc; what the machine is
`environment` a scratch database with accounts and rooms, and a server on it
`wires`       the load: raw websockets on one epoll, counting bytes instead of parsing them
`crowd`       people in rooms, on any server, and how long their messages take to the last of them
`references`  what most workloads are compared with
`deliveries`  two more for *fanout*: nchan, and a plain C loop, `send_loop.c`
`ejabberd`    another chat server, for *day* and *lone*
`tools`       pgbench, wrk, and what Debian has
one module a workload: `fanout`, `rooms`, `ingest`, `idle`, `history`, `login`, `start`, `day`, `lone`, `processes`;
instead of them, `growth` and `prices`

This process is the load. The server, and whatever it is compared with, is a process of its own on another core.
"""
