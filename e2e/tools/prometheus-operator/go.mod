// Pins the definitions of ServiceMonitor, PodMonitor and PrometheusRule, which the chart can install. Nothing is built.
module rdmamesh.io/e2e/tools/prometheus-operator

go 1.26.0

require github.com/prometheus-operator/prometheus-operator v0.92.1
