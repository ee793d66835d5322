"""The laboratory: a simulated VPC made of network namespaces, and real network managers that run inside it.

    from tests.lab.vpc import Vpc

    with Vpc() as vpc:                          # a node with eth0, a router, a client outside
        eth1 = vpc.attach("eth1")               # a second interface comes in while the node runs
        vpc.client.ask(eth1.address)            # False: the answer leaves by eth0, and the VPC drops it

`vpc`        the whole: attach, detach, route, neighbours, the metadata service; `eni` its addresses, `router` its rules
`namespace`  one network namespace: run, enter, snapshot
`echo`       the service in the node, and the question whether an address answers
`isolate`    for an ordinary user: run the script again where that user may make namespaces
`enclosure`  private files and processes inside a namespace, for daemons; `packages` fetches them, `dhcp` serves them
`managers`   networkd, NetworkManager, ifupdown, and stand-ins for wicked and network-scripts

Standard library and iproute2 only; `enclosure` wants root, util-linux and overlayfs, `packages` a Debian machine.
"""
