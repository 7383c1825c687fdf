"""How Apache Kafka's programs are started: one place for the class path and for what keeps a JVM small and quick to start."""
import os
import subprocess

OPTIONS = ["-Xmx256m", "-Xss512k", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto",
           "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]


def command(main, *arguments, options=()):
    base = os.path.join(os.environ["BUILD"], "clients", "java")
    return ["java", *OPTIONS, *options, "-cp", "%s/libs/*:%s/classes" % (base, base), main, *arguments]


def run(main, *arguments, options=(), timeout=120, stdin=None):
    """The exit status and what it printed, both streams as one."""
    try:
        p = subprocess.run(command(main, *arguments, options=options), input=stdin, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout, check=False)
    except subprocess.TimeoutExpired as e:
        return None, (e.stdout or b"").decode(errors="replace") + "\n(no end within %d s)" % timeout
    return p.returncode, p.stdout
