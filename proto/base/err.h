#ifndef KB_ERR_H
#define KB_ERR_H

/* Internal error codes. Functions return 0 or a documented positive answer when they worked, and
 * the negated code when something broke. Kafka's wire error codes are kw_error, not these. */
enum kb_err {
    KB_ENOMEM = 1, /* an allocation a peer decides the size of was refused */
    KB_EINVAL,     /* caller or peer gave something malformed */
    KB_EIO,        /* the disk or socket failed */
    KB_ENOSPC,     /* no space left on the volume */
    KB_ENOENT,     /* no such file or object */
    KB_EEXIST,     /* it is there already */
    KB_ECORRUPT,   /* bytes fail their checksum or contradict each other */
    KB_ETOOBIG,    /* above a named limit */
    KB_ECLOSED,    /* the connection or object is closed */
    KB_EAGAIN,     /* not now; the function says what to wait for */
    KB_ETIMEDOUT,
    KB_EREFUSED,     /* nobody listens there */
    KB_EUNREACHABLE, /* no route, or no such host */
    KB_EBUSY,        /* held by somebody else, e.g. a locked directory */
    KB_EPERM,
    KB_EADDRINUSE,
    KB_EUNSUPPORTED, /* a version or feature this build does not speak */
    KB_ECRASHED,     /* simulated crash: the node is gone, unwind without effects */
    KB_ELIMIT,       /* a budget or count is exhausted */
    KB_ERR_MAX_
};

/* "KB_EIO" for KB_EIO or -KB_EIO; "KB_E?" for anything else. Static storage. */
const char *kb_err_name(int err);
/* A few words for people ("disk or socket error"). Static storage. */
const char *kb_err_text(int err);
/* Map a positive errno to a negative kb_err; unknown ones become -KB_EIO. */
int kb_err_from_errno(int sys_errno);

#endif
