package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	// Each plugin is named alone: the list of all of them brings the clients of three clouds.
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metrics"
	_ "github.com/coredns/coredns/plugin/ready"
)

// dns runs CoreDNS. A word of the Corefile is known only if it is in the list, in the order of the chain.
func dns() {
	dnsserver.Directives = []string{
		"bind", "health", "ready", "prometheus", "errors", "log", "cache", "loadbalance", "kubernetes",
	}
	coremain.Run()
}
