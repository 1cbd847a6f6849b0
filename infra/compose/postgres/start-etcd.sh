#!/bin/sh
# Starts one of three etcd, in which Patroni keeps who is the primary. In a container all variables but NAME have their defaults.
set -eu

name=${NAME:?the name of this etcd is missing}
listen=${LISTEN:-0.0.0.0}
address=${ADDRESS:-$name}
client_port=${CLIENT_PORT:-2379}
peer_port=${PEER_PORT:-2380}
# The times, in milliseconds, suit a disk that is busy at times.
exec etcd --name "$name" --data-dir "${DATA_DIR:-/var/lib/etcd/data}" \
    --listen-client-urls "http://$listen:$client_port" --advertise-client-urls "http://$address:$client_port" \
    --listen-peer-urls "http://$listen:$peer_port" --initial-advertise-peer-urls "http://$address:$peer_port" \
    --initial-cluster "${ETCD_CLUSTER:-etcd-1=http://etcd-1:2380,etcd-2=http://etcd-2:2380,etcd-3=http://etcd-3:2380}" \
    --initial-cluster-token tandem --initial-cluster-state new \
    --heartbeat-interval 250 --election-timeout 2500 --auto-compaction-retention 1h --logger zap --log-level warn
