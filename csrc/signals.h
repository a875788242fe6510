/* What handlers of a fault share. */
#ifndef LK_SIGNALS_H
#define LK_SIGNALS_H

#include <signal.h>

/* The signal is not ours: what was installed `before` decides. By default that is to end the
 * process as the access repeats; a signal that was sent has no access to repeat. */
static inline void lk_hand_on(const struct sigaction *before, int signal, siginfo_t *info,
                              void *context) {
    if (before->sa_flags & SA_SIGINFO) {
        before->sa_sigaction(signal, info, context);
    } else if (before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN) {
        before->sa_handler(signal);
    } else {
        sigaction(signal, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
        if (info->si_code <= 0)
            raise(signal);
    }
}

#endif
