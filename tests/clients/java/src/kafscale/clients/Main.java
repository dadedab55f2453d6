package kafscale.clients;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/**
 * Runs scenarios of one class: {@code Main BOOTSTRAP THREADS CLASS METHOD...}.
 *
 * <p>Prints one line of JSON for each: name, ok, milliseconds, detail. Scenarios share nothing but the server, so they
 * may run beside each other: most of their time is waiting for rebalances. The exit code is 0 when all of them could be
 * run, whether they passed or not.
 */
public final class Main {
    /** Every scenario passes within 30 s on two busy cores; one that does not is stuck. */
    private static final long SCENARIO_SECONDS_MAX = 60;

    private Main() {}

    /** Entry point. */
    public static void main(String[] args) throws Exception {
        Class<?> theme = Class.forName("kafscale.clients." + args[2]);
        List<Method> methods = new ArrayList<>();
        for (String name : Arrays.copyOfRange(args, 3, args.length)) {
            Method method = theme.getDeclaredMethod(name, Cluster.class);
            if (!method.isAnnotationPresent(Scenario.class)) {
                throw new IllegalArgumentException(name + " is not a scenario");
            }
            methods.add(method);
        }
        try (Cluster cluster = new Cluster(args[0])) {
            ExecutorService slots = Executors.newFixedThreadPool(Integer.parseInt(args[1]));
            methods.forEach(method -> slots.submit(() -> report(method, cluster)));
            slots.shutdown();
            if (!slots.awaitTermination(SCENARIO_SECONDS_MAX * methods.size(), TimeUnit.SECONDS)) {
                throw new IllegalStateException("scenarios outlived their own time limits");
            }
        }
        // A scenario that was given up may have left threads behind.
        System.exit(0);
    }

    private static void report(Method method, Cluster cluster) {
        long start = System.nanoTime();
        String problem = run(method, cluster);
        long milliseconds = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - start);
        String line = "{\"name\":" + quoted(method.getName()) + ",\"ok\":" + (problem == null) + ",\"milliseconds\":"
                + milliseconds + ",\"detail\":" + quoted(problem == null ? "" : problem) + "}";
        synchronized (System.out) {
            System.out.println(line);
            System.out.flush();
        }
    }

    /** Returns null when the scenario passed, else what went wrong. */
    private static String run(Method method, Cluster cluster) {
        FutureTask<Object> task = new FutureTask<>(() -> method.invoke(null, cluster));
        Thread thread = new Thread(task, method.getName());
        thread.setDaemon(true);
        thread.start();
        try {
            task.get(SCENARIO_SECONDS_MAX, TimeUnit.SECONDS);
            return null;
        } catch (ExecutionException failure) {
            Throwable cause = failure.getCause();
            return stackTrace(cause instanceof InvocationTargetException ? cause.getCause() : cause);
        } catch (TimeoutException late) {
            String where = Arrays.toString(thread.getStackTrace()).replace(", ", "\n    at ");
            thread.interrupt();
            return "not done after " + SCENARIO_SECONDS_MAX + " s, it was here:\n" + where;
        } catch (InterruptedException unexpected) {
            return stackTrace(unexpected);
        }
    }

    private static String stackTrace(Throwable failure) {
        StringWriter text = new StringWriter();
        failure.printStackTrace(new PrintWriter(text, true));
        return text.toString();
    }

    private static String quoted(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char character : text.toCharArray()) {
            if (character == '"' || character == '\\') {
                json.append('\\').append(character);
            } else if (character < ' ' || character > '~') {
                json.append(String.format("\\u%04x", (int) character));
            } else {
                json.append(character);
            }
        }
        return json.append('"').toString();
    }
}
