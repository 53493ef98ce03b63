"""Clusters on Kubernetes."""
