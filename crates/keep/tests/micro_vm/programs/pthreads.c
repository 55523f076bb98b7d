/* What C programs do with threads. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <errno.h>

#define THREADS 4
#define COUNTS 2000

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long count, turn;
static __thread long own = 3;

static void check(int ok, const char *what) {
    if (!ok) {
        fprintf(stderr, "%s\n", what);
        exit(1);
    }
}

static void *counts(void *argument) {
    long me = (long)argument;
    check(own == 3, "thread-local storage is new");
    own = me;
    for (int n = 0; n < COUNTS; n++) {
        pthread_mutex_lock(&lock);
        count++;
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_lock(&lock);
    while (turn != me)
        pthread_cond_wait(&changed, &lock);
    turn++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
    check(own == me, "thread-local storage stays");
    return (void *)(me * me);
}

static void *detached(void *argument) {
    pthread_mutex_lock(argument);
    turn = -1;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(argument);
    return 0;
}

int main(void) {
    pthread_t threads[THREADS];
    for (long n = 0; n < THREADS; n++)
        check(pthread_create(&threads[n], 0, counts, (void *)n) == 0, "create");
    for (long n = 0; n < THREADS; n++) {
        void *result;
        check(pthread_join(threads[n], &result) == 0 && result == (void *)(n * n), "join");
    }
    check(count == THREADS * COUNTS && turn == THREADS, "counts");

    pthread_t thread;
    pthread_mutex_lock(&lock);
    check(pthread_create(&thread, 0, detached, &lock) == 0 && pthread_detach(thread) == 0, "detach");
    while (turn != -1)
        pthread_cond_wait(&changed, &lock);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_nsec -= 1000000000;
        until.tv_sec++;
    }
    int error;
    do
        error = pthread_cond_timedwait(&changed, &lock, &until);
    while (error == 0);
    check(error == ETIMEDOUT, "a wait that ends by itself");
    pthread_mutex_unlock(&lock);
    exit(42);
}
