"""The laboratory: a simulated VPC made of network namespaces, and real network managers that run inside it.

Standard library and iproute2 only. `isolate()` makes it work for an ordinary user too.

    from tests.lab.vpc import Vpc

    with Vpc() as vpc:                          # a node with eth0, a router, a client outside
        eth1 = vpc.attach("eth1")               # a second interface comes in while the node runs
        vpc.client.ask(eth1.address)            # False: the answer leaves by eth0, and the VPC drops it
"""
