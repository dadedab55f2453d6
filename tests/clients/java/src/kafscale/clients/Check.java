package kafscale.clients;

import java.time.Duration;
import java.util.Objects;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletionException;
import java.util.concurrent.ExecutionException;
import java.util.function.Predicate;

/** Assertions: each throws an AssertionError that says what was expected and what was there. */
final class Check {
    private static final Duration EVENTUALLY_MAX = Duration.ofSeconds(30);
    private static final Duration EVENTUALLY_PAUSE = Duration.ofMillis(50);
    private static final int SHOWN_CHARACTERS_MAX = 300;

    private Check() {}

    static void that(boolean condition, String what) {
        if (!condition) {
            throw new AssertionError(what);
        }
    }

    static <T> void equal(String what, T expected, T actual) {
        if (!Objects.deepEquals(expected, actual)) {
            throw new AssertionError(what + ": expected " + shown(expected) + " but was " + shown(actual));
        }
    }

    /** Runs an action that must fail with an exception of exactly this class or a subclass, and returns it. */
    static <E extends Exception> E fails(Class<E> expected, Callable<?> action) {
        Object result;
        try {
            result = action.call();
        } catch (Exception failure) {
            Throwable cause = failure;
            while (cause instanceof ExecutionException || cause instanceof CompletionException) {
                cause = cause.getCause();
            }
            if (expected.isInstance(cause)) {
                return expected.cast(cause);
            }
            throw new AssertionError("expected " + expected.getSimpleName() + " but got " + cause, cause);
        }
        throw new AssertionError("expected " + expected.getSimpleName() + " but got the result " + shown(result));
    }

    /** Repeats a question until its answer is as wanted, and returns that answer; an exception counts as an answer. */
    static <T> T eventually(String what, Callable<T> question, Predicate<T> wanted) throws InterruptedException {
        long deadline = System.nanoTime() + EVENTUALLY_MAX.toNanos();
        Object last = null;
        while (System.nanoTime() < deadline) {
            try {
                T answer = question.call();
                if (wanted.test(answer)) {
                    return answer;
                }
                last = answer;
            } catch (InterruptedException stop) {
                throw stop;
            } catch (Exception failure) {
                last = failure;
            }
            Thread.sleep(EVENTUALLY_PAUSE.toMillis());
        }
        throw new AssertionError(what + ": not within " + EVENTUALLY_MAX + ", at last " + shown(last));
    }

    static void eventually(String what, Callable<Boolean> condition) throws InterruptedException {
        eventually(what, condition, answer -> answer);
    }

    private static String shown(Object value) {
        String text = value == null ? "null" : value.getClass().getSimpleName() + " " + value;
        return text.length() <= SHOWN_CHARACTERS_MAX
                ? text
                : text.substring(0, SHOWN_CHARACTERS_MAX) + "… (" + text.length() + " characters)";
    }
}
