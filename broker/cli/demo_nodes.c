/* The three brokers of kvorum demo: processes, ports, files. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/cli/demo.h"

enum {
    PORT_FIRST = 15000, /* below what the kernel gives to outgoing connections */
    PORT_COUNT = 17000,
    PORT_TRIES = 1000,
    FILES_MAX = 16,
    REMOVE_TRIES = 50,
    REMOVE_PAUSE_MS = 100,
    STOP_MS = 15000,
    LOG_TAIL_BYTES = 2000,
};

/* ---- files -------------------------------------------------------------------------------------
 */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st;
    (void)type;
    (void)walk;
    (void)remove(path);
    return 0;
}

static void pause_ms(uint64_t ms)
{
    const struct timespec t = {.tv_sec = (time_t)(ms / 1000),
                               .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}

/* Nodes that are just dying may still write: again until it is gone. */
static void remove_tree(const char *dir)
{
    for (int i = 0; i < REMOVE_TRIES && access(dir, F_OK) == 0; i++) {
        if (i > 0)
            pause_ms(REMOVE_PAUSE_MS);
        (void)nftw(dir, remove_one, FILES_MAX, FTW_DEPTH | FTW_PHYS);
    }
}

/* A process that waits for our end, whatever it is, and then removes the directory. */
static int start_janitor(struct demo_nodes *n)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) < 0)
        return -1;
    n->janitor = fork();
    if (n->janitor == 0) {
        char byte = 0;
        (void)close(fds[1]);
        (void)setsid();
        while (read(fds[0], &byte, 1) < 0 && errno == EINTR)
            continue;
        remove_tree(n->dir);
        _exit(0);
    }
    (void)close(fds[0]);
    n->janitor_fd = fds[1];
    return n->janitor > 0 ? 0 : -1;
}

static bool is_empty(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *e = NULL;
    bool empty = d != NULL;
    while (empty && (e = readdir(d)) != NULL)
        empty = strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0;
    if (d != NULL)
        (void)closedir(d);
    return empty;
}

static int make_dir(struct demo_nodes *n, const char *keep)
{
    const char *tmp = getenv("TMPDIR");
    if (keep != NULL) {
        n->keep = true;
        if ((mkdir(keep, 0777) < 0 && errno != EEXIST) || !is_empty(keep)) {
            cli_error("--keep: %s is not an empty directory, or cannot be made", keep);
            return CLI_USAGE;
        }
        n->dir = realpath(keep, NULL);
        return n->dir != NULL ? CLI_OK : CLI_FAILED;
    }
    n->dir = kb_asprintf("%s/kvorum-demo-XXXXXX", tmp != NULL && *tmp != '\0' ? tmp : "/tmp");
    if (mkdtemp(n->dir) == NULL) {
        cli_error("cannot make a directory %s: %s", n->dir, strerror(errno));
        n->dir = kb_free(n->dir);
        return CLI_FAILED;
    }
    if (start_janitor(n) == 0)
        return CLI_OK;
    cli_error("cannot start a process: %s", strerror(errno));
    return CLI_FAILED;
}

/* ---- ports -------------------------------------------------------------------------------------
 */

static bool is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
    bool free_ = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    if (fd >= 0)
        (void)close(fd);
    return free_;
}

static uint16_t pick_port(uint16_t not_this)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        uint16_t r = 0;
        if (getrandom(&r, sizeof(r), 0) != (ssize_t)sizeof(r))
            break;
        uint16_t port = (uint16_t)(PORT_FIRST + r % PORT_COUNT);
        if (port != not_this && is_free(port))
            return port;
    }
    return 0;
}

/* Six different free ones. */
static bool pick_ports(struct demo_nodes *n)
{
    uint16_t base = 0;
    for (int tries = 0; tries < PORT_TRIES; tries++) {
        bool all = true;
        base = pick_port(0);
        for (uint16_t i = 0; base != 0 && i < 2 * DEMO_NODES; i++)
            all = all && base + i < PORT_FIRST + PORT_COUNT && is_free((uint16_t)(base + i));
        if (base == 0 || all)
            break;
    }
    for (uint16_t i = 0; i < DEMO_NODES; i++) {
        n->nodes[i].port = (uint16_t)(base + i);
        n->nodes[i].controller_port = (uint16_t)(base + DEMO_NODES + i);
    }
    if (base == 0)
        cli_error("no free ports were found between %d and %d", PORT_FIRST,
                  PORT_FIRST + PORT_COUNT);
    return base != 0;
}

/* ---- configurations ----------------------------------------------------------------------------
 */

static int write_config(const struct demo_nodes *n, struct demo_node *node)
{
    node->config = kb_asprintf("%s/node%d.properties", n->dir, node->id);
    node->log = kb_asprintf("%s/node%d.log", n->dir, node->id);
    FILE *f = fopen(node->config, "we");
    if (f == NULL) {
        cli_error("cannot write %s: %s", node->config, strerror(errno));
        return CLI_FAILED;
    }
    (void)fprintf(f,
                  "node.id=%d\nprocess.roles=broker,controller\n"
                  "listeners=PLAINTEXT://127.0.0.1:%u,CONTROLLER://127.0.0.1:%u\n"
                  "log.dirs=%s/node%d\ncontroller.quorum.voters=",
                  node->id, node->port, node->controller_port, n->dir, node->id);
    for (int i = 0; i < DEMO_NODES; i++)
        (void)fprintf(f, "%s%d@127.0.0.1:%u", i > 0 ? "," : "", n->nodes[i].id,
                      n->nodes[i].controller_port);
    (void)fputc('\n', f);
    if (fclose(f) != 0) {
        cli_error("cannot write %s: %s", node->config, strerror(errno));
        return CLI_FAILED;
    }
    return CLI_OK;
}

/* ---- processes ---------------------------------------------------------------------------------
 */

/* In the child: becomes the broker. Dies with its parent, and hears none of its terminal. */
static void become_broker(const struct demo_node *node, pid_t parent)
{
    sigset_t none;
    const char *argv[] = {"kvorum", "server", "--config", node->config, NULL};
    int log = open(node->log, O_WRONLY | O_CREAT | O_APPEND, 0666);
    int null = open("/dev/null", O_RDONLY);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent || log < 0 || null < 0)
        _exit(1);
    (void)setpgid(0, 0);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(log, STDOUT_FILENO);
    (void)dup2(log, STDERR_FILENO);
    (void)execv("/proc/self/exe", (char *const *)(uintptr_t)argv);
    _exit(1);
}

void demo_node_start(struct demo_nodes *n, struct demo_node *node)
{
    pid_t parent = getpid();
    (void)n;
    if (node->pid != 0)
        return;
    pid_t pid = fork();
    if (pid == 0)
        become_broker(node, parent);
    node->pid = pid > 0 ? pid : 0;
    node->paused = false;
}

void demo_node_kill(struct demo_node *node)
{
    if (node->pid == 0)
        return;
    (void)kill(node->pid, SIGKILL);
    (void)waitpid(node->pid, NULL, 0);
    node->pid = 0;
    node->paused = false;
}

void demo_node_pause(struct demo_node *node, bool paused)
{
    if (node->pid == 0)
        return;
    (void)kill(node->pid, paused ? SIGSTOP : SIGCONT);
    node->paused = paused;
}

struct demo_node *demo_nodes_dead(struct demo_nodes *n)
{
    for (int i = 0; i < DEMO_NODES; i++) {
        struct demo_node *node = &n->nodes[i];
        if (node->pid != 0 && waitpid(node->pid, NULL, WNOHANG) == node->pid) {
            node->pid = 0;
            node->paused = false;
            return node;
        }
    }
    return NULL;
}

void demo_node_tell_log(const struct demo_node *node)
{
    char text[LOG_TAIL_BYTES + 1] = "";
    FILE *f = fopen(node->log, "re");
    cli_error("node %d ended by itself; the end of %s:", node->id, node->log);
    if (f == NULL)
        return;
    if (fseek(f, -LOG_TAIL_BYTES, SEEK_END) < 0)
        rewind(f);
    text[fread(text, 1, LOG_TAIL_BYTES, f)] = '\0';
    (void)fputs(text, stderr);
    (void)fclose(f);
}

int demo_nodes_start(struct demo_nodes *n, const char *keep)
{
    n->janitor_fd = -1;
    int r = make_dir(n, keep);
    if (r == CLI_OK && !pick_ports(n))
        r = CLI_FAILED;
    for (int i = 0; i < DEMO_NODES; i++)
        n->nodes[i].id = i + 1;
    for (int i = 0; i < DEMO_NODES && r == CLI_OK; i++)
        r = write_config(n, &n->nodes[i]);
    if (r != CLI_OK)
        return r;
    n->bootstrap = kb_asprintf("127.0.0.1:%u,127.0.0.1:%u,127.0.0.1:%u", n->nodes[0].port,
                               n->nodes[1].port, n->nodes[2].port);
    for (int i = 0; i < DEMO_NODES; i++)
        demo_node_start(n, &n->nodes[i]);
    return CLI_OK;
}

/* What is kept is closed in order: each node moves its leaders away first, as far as it can. */
static void stop_in_order(struct demo_nodes *n)
{
    uint64_t until_ms = cli_now_ms() + STOP_MS;
    bool running = true;
    for (int i = 0; i < DEMO_NODES; i++) {
        demo_node_pause(&n->nodes[i], false);
        if (n->nodes[i].pid != 0)
            (void)kill(n->nodes[i].pid, SIGTERM);
    }
    while (running && cli_now_ms() < until_ms) {
        running = false;
        while (demo_nodes_dead(n) != NULL)
            continue;
        for (int i = 0; i < DEMO_NODES; i++)
            running |= n->nodes[i].pid != 0;
        if (running)
            pause_ms(REMOVE_PAUSE_MS / 10);
    }
}

void demo_nodes_stop(struct demo_nodes *n)
{
    if (n->keep)
        stop_in_order(n);
    for (int i = 0; i < DEMO_NODES; i++) {
        demo_node_kill(&n->nodes[i]);
        (void)kb_free(n->nodes[i].config);
        (void)kb_free(n->nodes[i].log);
    }
    if (n->janitor > 0) {
        (void)close(n->janitor_fd);
        (void)waitpid(n->janitor, NULL, 0);
    }
    (void)kb_free(n->dir);
    (void)kb_free(n->bootstrap);
}
