#define _GNU_SOURCE
#include "linux_calls.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <termios.h>

enum { endings = 4 };
static const int ending[endings] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
static struct sigaction before[endings];
static struct termios usual;
static volatile sig_atomic_t silent = -1;

/* Only calls that a signal handler may make. */
static void heard(int signal) {
    int error = errno;
    if (silent >= 0) tcsetattr(silent, TCSANOW, &usual);
    for (int i = 0; i < endings; i++)
        if (ending[i] == signal) sigaction(signal, &before[i], NULL);
    raise(signal); /* comes when this handler returns, to whom it was for */
    errno = error;
}

int linux_silence_terminal(int terminal) {
    if (tcgetattr(terminal, &usual) != 0) return -1;
    silent = terminal;
    struct sigaction action = {.sa_handler = heard};
    for (int i = 0; i < endings; i++) {
        sigaction(ending[i], NULL, &before[i]);
        if (before[i].sa_handler != SIG_IGN) sigaction(ending[i], &action, NULL);
    }
    struct termios quiet = usual;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    if (tcsetattr(terminal, TCSAFLUSH, &quiet) == 0) return 0;
    linux_unsilence_terminal(); /* the signals are whose they were */
    return -1;
}

void linux_unsilence_terminal(void) {
    if (silent < 0) return;
    tcsetattr(silent, TCSAFLUSH, &usual);
    for (int i = 0; i < endings; i++) {
        struct sigaction now;
        sigaction(ending[i], NULL, &now);
        if (now.sa_handler == heard) sigaction(ending[i], &before[i], NULL);
    }
    silent = -1;
}
