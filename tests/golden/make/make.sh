#!/usr/bin/env bash
# Make ../*.txt again with Apache Kafka's classes. Needs a JDK, Maven and a Maven repository.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mvn -q -B dependency:copy-dependencies -DoutputDirectory="$work/lib"
javac -cp "$work/lib/*" -d "$work/classes" src/main/java/Golden.java
apis=$(sed -n 's/^api \([A-Za-z]*\) key .*/\1/p' ../../../proto/kafka/schema/*.kw)
# shellcheck disable=SC2086
java -cp "$work/lib/*:$work/classes" Golden .. $apis
