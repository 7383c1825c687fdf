#include "proto/base/err.h"

#include <errno.h>

static const struct {
    const char *name;
    const char *text;
} kb_err_table[KB_ERR_MAX_] = {
    [KB_ENOMEM] = {"KB_ENOMEM", "out of memory"},
    [KB_EINVAL] = {"KB_EINVAL", "malformed input"},
    [KB_EIO] = {"KB_EIO", "disk or socket error"},
    [KB_ENOSPC] = {"KB_ENOSPC", "no space left"},
    [KB_ENOENT] = {"KB_ENOENT", "not found"},
    [KB_EEXIST] = {"KB_EEXIST", "exists already"},
    [KB_ECORRUPT] = {"KB_ECORRUPT", "corrupt data"},
    [KB_ETOOBIG] = {"KB_ETOOBIG", "above the limit"},
    [KB_ECLOSED] = {"KB_ECLOSED", "closed"},
    [KB_EAGAIN] = {"KB_EAGAIN", "not now"},
    [KB_ETIMEDOUT] = {"KB_ETIMEDOUT", "timed out"},
    [KB_EREFUSED] = {"KB_EREFUSED", "connection refused"},
    [KB_EUNREACHABLE] = {"KB_EUNREACHABLE", "host unreachable or unknown"},
    [KB_EBUSY] = {"KB_EBUSY", "held by another process"},
    [KB_EPERM] = {"KB_EPERM", "not permitted"},
    [KB_EADDRINUSE] = {"KB_EADDRINUSE", "address in use"},
    [KB_EUNSUPPORTED] = {"KB_EUNSUPPORTED", "not supported"},
    [KB_ECRASHED] = {"KB_ECRASHED", "simulated crash"},
    [KB_ELIMIT] = {"KB_ELIMIT", "budget exhausted"},
};

static int index_of(int err)
{
    if (err < 0)
        err = -err;
    return err > 0 && err < KB_ERR_MAX_ ? err : 0;
}

const char *kb_err_name(int err)
{
    int i = index_of(err);
    return i != 0 ? kb_err_table[i].name : "KB_E?";
}

const char *kb_err_text(int err)
{
    int i = index_of(err);
    return i != 0 ? kb_err_table[i].text : "unknown error";
}

int kb_err_from_errno(int sys_errno)
{
    switch (sys_errno) {
    case ENOMEM:
    case ENOBUFS:
        return -KB_ENOMEM;
    case EINVAL:
        return -KB_EINVAL;
    case ENOSPC:
    case EDQUOT:
        return -KB_ENOSPC;
    case ENOENT:
    case ENOTDIR:
        return -KB_ENOENT;
    case EEXIST:
    case ENOTEMPTY:
        return -KB_EEXIST;
    case EFBIG:
    case EMSGSIZE:
        return -KB_ETOOBIG;
    case EPIPE:
    case ECONNRESET:
        return -KB_ECLOSED;
    case EAGAIN:
        return -KB_EAGAIN;
    case ETIMEDOUT:
        return -KB_ETIMEDOUT;
    case ECONNREFUSED:
        return -KB_EREFUSED;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EADDRNOTAVAIL:
        return -KB_EUNREACHABLE;
    case EBUSY:
        return -KB_EBUSY;
    case EPERM:
    case EACCES:
    case EROFS:
        return -KB_EPERM;
    case EADDRINUSE:
        return -KB_EADDRINUSE;
    case EOPNOTSUPP:
    case ENOSYS:
        return -KB_EUNSUPPORTED;
    case EMFILE:
    case ENFILE:
        return -KB_ELIMIT;
    default:
        return -KB_EIO;
    }
}
